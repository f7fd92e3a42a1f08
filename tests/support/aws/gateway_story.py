"""Stock boto3 through a gateway: one endpoint, the delegated credential as the session token. Prints each step."""

import io
import json
import os

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

s3 = boto3.client(
    "s3",
    endpoint_url=os.environ["GATEWAY"],
    region_name="us-east-1",
    aws_access_key_id="valetkey",
    aws_secret_access_key="valetkey",
    aws_session_token=os.environ["TOKEN"],
    config=Config(retries={"total_max_attempts": 1}),
)
PART = 5 << 20
steps = {}


def step(name, act):
    try:
        steps[name] = {"ok": True, "value": act()}
    except ClientError as error:
        said = error.response["Error"]
        steps[name] = {"ok": False, "code": said["Code"], "text": said.get("Message", "")}


def multipart(key):
    small = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=2)
    s3.upload_fileobj(io.BytesIO(b"x" * (PART + 7)), "acme-reports", key, Config=small)
    back = io.BytesIO()
    s3.download_fileobj("acme-reports", key, back)
    return len(back.getvalue())


def copy(source, to="2027/copied.csv", bucket="acme-reports"):
    return lambda: bool(s3.copy_object(Bucket=bucket, Key=to, CopySource=source)["CopyObjectResult"])


def put(bucket, key, **more):
    return lambda: bool(s3.put_object(Bucket=bucket, Key=key, Body=b"a,b\n", **more)["ETag"])


def get(bucket, key):
    return lambda: s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()


def listed(bucket, **more):
    return lambda: [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, **more).get("Contents", [])]


step("list", listed("acme-reports", Prefix="2027/"))
step("list elsewhere", listed("acme-payroll"))
step("list another prefix", listed("acme-reports", Prefix="2026/"))
step("list everything", listed("acme-reports"))
step("get", get("acme-reports", "2027/q1.csv"))
step("get spelled", get("acme-reports", "2027/q 1+(é).csv"))
step("get another prefix", get("acme-reports", "2026/q1.csv"))
step("get elsewhere", get("acme-payroll", "2027/q1.csv"))
step("put", put("acme-reports", "2027/new.csv", Metadata={"quarter": "q2"}))
step("put another prefix", put("acme-reports", "2026/new.csv"))
step("put elsewhere", put("acme-payroll", "2027/new.csv"))
step("put for everybody", put("acme-reports", "2027/new.csv", ACL="public-read"))
step("multipart", lambda: multipart("2027/large.bin"))
step("multipart another prefix", lambda: s3.create_multipart_upload(Bucket="acme-reports", Key="2026/l")["UploadId"])
step("copy", copy({"Bucket": "acme-reports", "Key": "2027/q1.csv"}))
step("copy from elsewhere", copy({"Bucket": "acme-payroll", "Key": "2027/q1.csv"}))
step("copy from another prefix", copy({"Bucket": "acme-reports", "Key": "2026/q1.csv"}))
step("copy to another prefix", copy({"Bucket": "acme-reports", "Key": "2027/q1.csv"}, to="2026/copied.csv"))
step("delete", lambda: bool(s3.delete_object(Bucket="acme-reports", Key="2027/new.csv")))
step("delete another prefix", lambda: bool(s3.delete_object(Bucket="acme-reports", Key="2026/q1.csv")))
step("access list", lambda: s3.get_object_acl(Bucket="acme-reports", Key="2027/q1.csv")["Owner"])
step("policy", lambda: s3.get_bucket_policy(Bucket="acme-reports")["Policy"])
print(json.dumps(steps))
