"""What an operator installs (deploy/), run as an operator would: systemd, the container, the Helm chart."""
