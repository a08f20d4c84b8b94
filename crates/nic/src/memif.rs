//! The memif driver.
