//! Compiles the proto files without protoc, and lists their methods.

use std::{env, fmt::Write, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["dispers/v1/dispers.proto"], ["proto"])?;
    // Metrics and traces name methods from this list, which bounds the values of their labels.
    let mut methods = String::from("&[\n");
    for file in &descriptors.file {
        for service in &file.service {
            for method in &service.method {
                let (package, service, method) = (file.package(), service.name(), method.name());
                writeln!(
                    methods,
                    "    (\"/{package}.{service}/{method}\", \"{service}/{method}\"),"
                )?;
            }
        }
    }
    methods.push(']');
    let output = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(output.join("methods.rs"), methods)?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
