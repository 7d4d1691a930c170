"""Kubernetes as its users reach it: by kubectl and helm, and by whatever KUBECONFIG names."""
