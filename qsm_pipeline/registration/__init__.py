"""Labels brought from another image into the space of a run, by SimpleITK."""
