"""The s3 flavor: AWS, MinIO, Ceph RGW and whatever speaks their protocol."""
