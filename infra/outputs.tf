output "submit" {
  description = "What `kep submit` and `kep schedule` are called with."
  value       = "--project ${var.project} --region ${var.region} --bucket gs://${google_storage_bucket.pipelines.name} --service-account ${google_service_account.steps.email}"
}

output "templates" {
  description = "--repository of `kep publish`."
  value       = "https://${var.region}-kfp.pkg.dev/${var.project}/${google_artifact_registry_repository.templates.name}"
}
