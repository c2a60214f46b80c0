"""Who asks: credentials, what they allow, and the routes to sign in and out."""
