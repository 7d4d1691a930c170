"""Access to the Kubernetes cluster that KUBECONFIG names, by kubectl and helm."""
