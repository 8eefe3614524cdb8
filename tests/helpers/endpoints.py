"""The endpoint that tests ask and roll out."""

PLACE = ("--project", "shop-ml", "--region", "europe-west4")


NAME = "projects/shop-ml/locations/europe-west4/endpoints/churn"
