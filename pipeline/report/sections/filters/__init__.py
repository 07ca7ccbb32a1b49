"""The filters of convolutions: sheets, spectra and what was found (ZF fig. 6)."""
