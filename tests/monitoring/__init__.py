"""What watches the services: metrics, rules, the dashboard, asked of a real Prometheus."""
