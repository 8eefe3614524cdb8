"""Where a run happens: on this machine, on Vertex AI, on Kubeflow."""
