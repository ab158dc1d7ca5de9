"""The outsider: voters, scenarios and reports. Talks HTTP and runs commands; imports ballot only.

What somebody starts lies here: `load`, `demo`, `cast`, `sealing` and Locust's `locustfile`. All else is in
packages, each of which imports only those that are named before it here: `published`, `voting`, `staging`,
`crowds`, `lifetime`, `faults`, `overlays`, `outside`, `report`, `judging`, `conduct`. `capacity` needs
`published` only.
"""
