"""The path X_t from noise to data: schedules, drifts, one step of each ODE and SDE. No network is known here."""
