//! Answers queries from a host's own storage: here a folder with one JSON file for each home.
//!
//! A host implements [`Connector`] over what it has, and gives it to its `Store` with `with_documents`. The sandbox
//! does this in place of a host, so that the example is a whole network.

use std::{error::Error, fs, path::PathBuf, sync::Arc};

use dispers_sandbox::{Network, Options, Through};
use dispers_stack::{Connector, Document, FieldValue, HomeId, Selector};
use serde_json::{Value, json};

/// Folder with a file `HOME.json` for each home.
struct Folder(PathBuf);

impl Folder {
    fn path(&self, home: &HomeId) -> PathBuf {
        self.0.join(format!("{}.json", home.0))
    }
}

impl Connector for Folder {
    fn documents(
        &self,
        doctype: &str,
        fields: &[&str],
        homes: &[HomeId],
        // The local query filters again, so that a storage without conditions of its own may leave them out.
        _: &Selector,
    ) -> Result<Vec<Document>, dispers_stack::Error> {
        if !doctype.eq_ignore_ascii_case("health") {
            return Ok(Vec::new());
        }
        let mut documents = Vec::new();
        for (place, home) in (0u32..).zip(homes) {
            // A home that cannot be read has no documents. The other homes must have theirs all the same.
            let Ok(bytes) = fs::read(self.path(home)) else {
                continue;
            };
            let Ok(document) = serde_json::from_slice::<Value>(&bytes) else {
                continue;
            };
            // Only the named fields leave the storage.
            let values = fields.iter().map(|field| match &document[*field] {
                Value::Number(number) => number
                    .as_i64()
                    .map_or(FieldValue::Null, FieldValue::Integer),
                Value::String(text) => FieldValue::Text(text.clone()),
                _ => FieldValue::Null,
            });
            documents.push((place, values.collect()));
        }
        Ok(documents)
    }

    fn holds(&self, home: &HomeId) -> Result<bool, dispers_stack::Error> {
        Ok(self.path(home).exists())
    }

    fn homes(&self) -> Result<Vec<HomeId>, dispers_stack::Error> {
        let failed = |error: std::io::Error| dispers_stack::Error::Source(error.to_string());
        let mut homes = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            homes.extend(name.map(|name| HomeId(name.to_owned())));
        }
        Ok(homes)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Every home is 40 years old and has a heart rate of 60 to 79.
    let place = tempfile::tempdir()?;
    for home in 0..400 {
        let document = json!({ "age": 40, "heart_rate": 60 + home % 20 });
        fs::write(
            place.path().join(format!("home-{home}.json")),
            document.to_string(),
        )?;
    }

    let folder = place.path().to_owned();
    let options = Options {
        through: Some(Through(Arc::new(move |_| -> Arc<dyn Connector> {
            Arc::new(Folder(folder.clone()))
        }))),
        ..Options::small()
    };
    let network = Network::start(&options, |_| {}).await?;
    let sql = "SELECT AVG(clamp(heart_rate, 40, 160, 1)) AS rate FROM health";
    let result = network.ask(sql, None, |_| {}).await?;
    println!("mean heart rate {:?}", result.table.rows[0][0].number());
    network.stop().await;
    Ok(())
}
