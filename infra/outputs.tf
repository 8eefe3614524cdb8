output "submit" {
  description = "What `kep submit` and `kep schedule` are called with."
  value = join(" ", concat(
    [
      "--project ${var.project} --region ${var.region}",
      "--bucket gs://${google_storage_bucket.pipelines.name}",
      "--service-account ${google_service_account.steps.email}",
    ],
    [for key in module.cmek[*].key : "--kms-key ${key}"],
    [for attachment in module.network[*].attachment : "--network ${attachment}"],
  ))
}

output "templates" {
  description = "--repository of `kep publish`."
  value       = "https://${var.region}-kfp.pkg.dev/${var.project}/${google_artifact_registry_repository.templates.name}"
}

output "state_bucket" {
  description = "What `terraform init -backend-config=bucket=` is called with; null without the bucket."
  value       = one(module.state[*].name)
}
