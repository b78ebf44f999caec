"""What rollouts made elsewhere say and are answered, kept for a while: the tracing gateway of eval-protocol's users."""
