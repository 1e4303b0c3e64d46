"""Raw feedback to needs: grouped, proved stable, measured, ranked, in the users' own words."""
