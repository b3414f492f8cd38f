"""CommonRoad 2018b and 2020a."""
