"""What only one paper needs: its neurons, published algorithms, as-published baselines, judges."""
