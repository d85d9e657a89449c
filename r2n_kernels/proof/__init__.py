"""Is it right here? One tolerance rule, parity with eager models, the self-test, and tuning."""
