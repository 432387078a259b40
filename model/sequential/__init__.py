"""Next-item prediction on published protocols: what the encoders are worth offline. Nothing here is served."""
