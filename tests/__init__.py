"""Every check of the project: unit, contract, integration, acceptance, and the checks on the code itself."""
