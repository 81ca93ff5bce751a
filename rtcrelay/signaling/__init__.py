"""Where does a call go, and through which ingress? Pure rules, and a thin HTTP front that follows them."""
