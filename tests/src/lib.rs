//! What the tests of the whole project share: above all the cases, which any engine can run.

pub mod bench;
pub mod cases;
pub mod chaos;
pub mod golden;
pub mod servers;
pub mod sim;
