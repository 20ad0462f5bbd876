"""The only way in and out of Parquet."""
