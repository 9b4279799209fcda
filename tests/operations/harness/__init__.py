"""What the monitoring tests are made of."""
