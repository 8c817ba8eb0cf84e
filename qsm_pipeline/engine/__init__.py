"""Running nipype workflows: plugins, failures, resources."""
