"""Stock boto3 that gets its credentials from a `credential_process` of its configuration, and uses a bucket."""

import json
import os

import boto3

session = boto3.Session(profile_name="agent")
url = os.environ["AWS_URL"]
s3, sts = (session.client(name, endpoint_url=url, region_name="us-east-1") for name in ("s3", "sts"))
read = s3.get_object(Bucket="acme-reports", Key="q1.csv")["Body"].read().decode()
listed = [found["Key"] for found in s3.list_objects_v2(Bucket="acme-reports")["Contents"]]
print(
    json.dumps(
        {
            "method": session.get_credentials().method,
            "who": sts.get_caller_identity()["Arn"],
            "read": read,
            "listed": listed,
        }
    )
)
