# Reading data sets of BigQuery: whoever submits looks at a table, and the steps extract it.

variable "project" {
  description = "Id of the project of the data sets, which pays for the queries, too."
  type        = string
}

variable "datasets" {
  description = "Ids of the data sets."
  type        = set(string)
}

variable "members" {
  description = "Who reads, as members by name."
  type        = map(string)
}

locals {
  pairs = {
    for pair in setproduct(keys(var.members), var.datasets) :
    "${pair[0]} ${pair[1]}" => { member = var.members[pair[0]], dataset = pair[1] }
  }
}

resource "google_project_iam_member" "jobs" {
  for_each = var.members
  project  = var.project
  member   = each.value
  role     = "roles/bigquery.jobUser"
}

resource "google_bigquery_dataset_iam_member" "data" {
  for_each   = local.pairs
  project    = var.project
  dataset_id = each.value.dataset
  member     = each.value.member
  role       = "roles/bigquery.dataViewer"
}
