//! Names the shared library's ABI for the linker and generates the C header into `OUT_DIR`. The source tree is not touched:
//! a test compares the generated header with the committed one.

use std::env;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        let major = env::var("CARGO_PKG_VERSION_MAJOR")?;
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libplimsoll.so.{major}");
        // The library's threads would outlive its code after a dlclose.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
    if env::var_os("CARGO_FEATURE_CAPI").is_some() {
        header(Path::new(&env::var("CARGO_MANIFEST_DIR")?), Path::new(&env::var("OUT_DIR")?))?;
    }
    Ok(())
}

#[cfg(feature = "capi")]
fn header(root: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=src/capi");
    println!("cargo:rerun-if-changed=engines/plugin/src/abi.rs");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml"))?;
    let version = |part| env::var(format!("CARGO_PKG_VERSION_{part}"));
    config.after_includes = Some(format!(
        "\n/** The version that this header was released with. */\n\
         #define PLIMSOLL_VERSION_MAJOR {}\n#define PLIMSOLL_VERSION_MINOR {}\n#define PLIMSOLL_VERSION_PATCH {}",
        version("MAJOR")?,
        version("MINOR")?,
        version("PATCH")?,
    ));
    // In the order in which a reader meets them.
    let order = [
        "version", "status", "error", "text", "config", "log", "runtime", "memory", "pool", "monitor",
        "cleanup", "model", "unload", "plugin", "session", "request", "waiting", "cancel", "admit", "price",
        "generate", "stream", "answers",
    ];
    let mut builder = cbindgen::Builder::new().with_config(config);
    for name in order {
        if name == "plugin" {
            builder = builder.with_src(root.join("engines/plugin/src/abi.rs"));
        }
        builder = builder.with_src(root.join("src/capi").join(name).with_extension("rs"));
    }
    let inner = ["mod", "boundary", "convert", "tests"];
    for entry in std::fs::read_dir(root.join("src/capi"))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if !order.contains(&name) && !inner.contains(&name) {
            return Err(
                format!("build.rs does not know {}: add it to the header's order", path.display()).into()
            );
        }
    }
    builder.generate()?.write_to_file(out.join("plimsoll.h"));
    Ok(())
}

#[cfg(not(feature = "capi"))]
fn header(_: &Path, _: &Path) -> Result<(), Box<dyn Error>> {
    Ok(())
}
