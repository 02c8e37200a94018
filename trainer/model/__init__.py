"""What is fitted: features, builtins, loss weights, strategy, repairs of upstream."""
