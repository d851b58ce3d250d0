"""purplectl: the operator's command line. One module per command group; ``main`` joins them."""
