//! Low-rank adapters: trained, stored, merged and applied.
