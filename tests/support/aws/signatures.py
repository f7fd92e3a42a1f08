"""botocore's own Signature Version 4 of the requests on standard input; prints the headers of each, signed."""

import datetime
import json
import sys

from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

asked = json.load(sys.stdin)
moment = datetime.datetime.fromtimestamp(asked["now"], datetime.UTC).replace(tzinfo=None)
auth.get_current_datetime = lambda remove_tzinfo=True: moment
answers = []
for one in asked["requests"]:
    request = AWSRequest(method=one["method"], url=one["url"], headers=one["headers"], data=one["body"].encode())
    credentials = Credentials(asked["key"], asked["secret"], one.get("token"))
    kind = auth.S3SigV4Auth if one["service"] == "s3" else auth.SigV4Auth
    request.context["client_config"] = Config(s3={"payload_signing_enabled": True})
    kind(credentials, one["service"], one["region"]).add_auth(request)
    answers.append(dict(request.headers.items()))
print(json.dumps(answers))
