"""What SIP requests carry, read and written: text, HTML, CPIM, receipts, typing notices, presence. No I/O."""
