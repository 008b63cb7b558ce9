//! Tests that every test exists that docs/protocol.md §12 names.

use std::{fs, path::Path};

fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('.') {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_test_that_the_protocol_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut text = String::new();
    sources(&root, &mut text);
    let protocol = fs::read_to_string(root.join("docs/protocol.md")).unwrap();
    let (_, from) = protocol.split_once("## 12. ").unwrap();
    let (section, _) = from.split_once("## 13. ").unwrap();
    let cited = section.split('`').skip(1).step_by(2);
    let tests: Vec<&str> = cited.filter(|word| word.matches('_').count() > 2).collect();
    assert!(tests.len() > 50, "{} tests are cited", tests.len());
    for test in tests {
        let found = text.contains(&format!("fn {test}("));
        assert!(
            found,
            "docs/protocol.md §12 names {test}, and there is no such test"
        );
    }
}
