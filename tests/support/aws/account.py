"""An AWS account as its owner makes it: a bucket, and a key of a user that may take on a role. Prints role and key."""

import json
import os

import boto3

ROLE = "arn:aws:iam::123456789012:role/agents"
TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]}

owner = {
    "endpoint_url": os.environ["AWS_URL"],
    "region_name": "us-east-1",
    "aws_access_key_id": "owner",
    "aws_secret_access_key": "owner",
}
iam, s3 = boto3.client("iam", **owner), boto3.client("s3", **owner)
iam.create_user(UserName="valetkey")
key = iam.create_access_key(UserName="valetkey")["AccessKey"]
role = iam.create_role(RoleName="agents", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
s3.create_bucket(Bucket="acme-reports")
s3.put_object(Bucket="acme-reports", Key="q1.csv", Body=b"quarter,revenue\n")
s3.create_bucket(Bucket="acme-payroll")
for bucket, name in (("acme-reports", "2027/q1.csv"), ("acme-reports", "2026/q1.csv"), ("acme-payroll", "2027/q1.csv")):
    s3.put_object(Bucket=bucket, Key=name, Body=f"{bucket}/{name}\n".encode())
s3.put_object(Bucket="acme-reports", Key="2027/q 1+(é).csv", Body=b"spelled\n")
print(json.dumps({"role": role["Arn"], "key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}))
