//! What the tests of the whole project share: above all the cases, which any engine can run.

pub mod bench;
pub mod cases;
pub mod chaos;
pub mod golden;
pub mod servers;
pub mod sim;

use std::path::PathBuf;

/// The folder of this package, where its cases and golden files are.
///
/// Cargo says where it is to whatever it runs. A path that was compiled in may be another one:
/// a target directory that checkouts share keeps what was compiled for any of them.
pub fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
        .into()
}
