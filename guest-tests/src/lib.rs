//! racer
