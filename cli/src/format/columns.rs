//! Results as Arrow and Parquet files.

use std::{collections::HashMap, io::Write, sync::Arc};

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use dispers_querier::QueryResult;
use dispers_sql::decode::Value;

use super::{exact, noisy, row_object};

/// Writes an Arrow file.
pub(super) fn arrow(result: &QueryResult, out: &mut impl Write) -> anyhow::Result<()> {
    let batch = batch(result)?;
    let mut writer = arrow_ipc::writer::FileWriter::try_new(out, &batch.schema())?;
    writer.write(&batch)?;
    writer.finish()?;
    Ok(())
}

/// Writes a Parquet file.
pub(super) fn parquet(result: &QueryResult, out: &mut (impl Write + Send)) -> anyhow::Result<()> {
    let batch = batch(result)?;
    let mut writer = parquet::arrow::ArrowWriter::try_new(out, batch.schema(), None)?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}

/// Returns the columns of a result. After a noisy column come its interval and standard error.
fn batch(result: &QueryResult) -> anyhow::Result<RecordBatch> {
    let table = &result.table;
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (column, name) in table.columns.iter().enumerate() {
        let values: Vec<&Value> = table.rows.iter().map(|row| &row[column]).collect();
        let array = array(&values);
        // Every column may have NULLs, since any number may be withheld.
        fields.push(Field::new(name, array.data_type().clone(), true));
        columns.push(array);
        if !noisy(result, column) {
            continue;
        }
        let intervals = table.intervals.iter().map(|row| row[column]);
        let (low, high): (Vec<_>, Vec<_>) = intervals
            .map(|interval| (interval.map(|i| i.0), interval.map(|i| i.1)))
            .unzip();
        let errors: Vec<Option<f64>> = table
            .standard_errors
            .iter()
            .map(|row| row[column])
            .collect();
        for (what, values) in [("low", low), ("high", high), ("se", errors)] {
            fields.push(Field::new(
                format!("{name}_{what}"),
                DataType::Float64,
                true,
            ));
            columns.push(Arc::new(Float64Array::from(values)));
        }
    }
    let suppressed: Vec<_> = table
        .suppressed_groups
        .iter()
        .map(|group| row_object(&table.group_columns, group))
        .collect();
    // Remarks that other formats print on stderr must stay with a file that is passed on.
    let metadata = HashMap::from([
        ("query".to_owned(), result.query.to_string()),
        (
            "homes_accepted".to_owned(),
            result.homes.accepted.to_string(),
        ),
        (
            "suppressed_groups".to_owned(),
            serde_json::to_string(&suppressed)?,
        ),
        ("notes".to_owned(), serde_json::to_string(&table.notes)?),
    ]);
    let schema = Schema::new(fields).with_metadata(metadata);
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

/// Converts values to an array of their type. Values of several types become texts, and integers beyond 64
/// bits become reals.
fn array(values: &[&Value]) -> ArrayRef {
    let known: Vec<&Value> = values
        .iter()
        .filter(|value| !matches!(value, Value::Null))
        .copied()
        .collect();
    if !known.is_empty() && known.iter().all(|value| integer(value).is_some()) {
        let integers: Vec<Option<i64>> = values.iter().map(|value| integer(value)).collect();
        return Arc::new(Int64Array::from(integers));
    }
    // A column without any value has no type, and also becomes one of reals.
    if known
        .iter()
        .all(|value| matches!(value, Value::Real(_) | Value::Integer(_)))
    {
        let reals: Vec<Option<f64>> = values.iter().map(|value| value.number()).collect();
        return Arc::new(Float64Array::from(reals));
    }
    if known.iter().all(|value| matches!(value, Value::Boolean(_))) {
        let booleans = values.iter().map(|value| match value {
            Value::Boolean(boolean) => Some(*boolean),
            _ => None,
        });
        return Arc::new(BooleanArray::from(booleans.collect::<Vec<_>>()));
    }
    let texts = values.iter().map(|value| match value {
        Value::Null => None,
        value => Some(exact(value)),
    });
    Arc::new(StringArray::from(texts.collect::<Vec<_>>()))
}

/// Returns the integer, unless the value is of another type or beyond 64 bits.
fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(integer) => i64::try_from(*integer).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int64Type};
    use dispers_base::id::QueryId;
    use dispers_sql::decode::Table;

    use super::*;

    fn result() -> QueryResult {
        let row =
            |key: &str, count, mean| vec![Value::Text(key.into()), Value::Integer(count), mean];
        let table = Table {
            columns: ["band", "n", "mean"].map(str::to_owned).into(),
            rows: vec![row("a", 12, Value::Real(1.5)), row("b", 30, Value::Null)],
            group_columns: vec!["band".into()],
            suppressed_groups: vec![vec![Value::Text("c".into())]],
            keys: vec![0],
            intervals: vec![vec![None, Some((9.0, 15.0)), None]; 2],
            standard_errors: vec![vec![None, Some(1.5), None]; 2],
            ..Table::default()
        };
        QueryResult::of_table(QueryId([7; 32]), table)
    }

    fn check(batch: &RecordBatch) {
        let schema = batch.schema();
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names, ["band", "n", "n_low", "n_high", "n_se", "mean"]);
        assert_eq!(batch.column(0).as_string::<i32>().value(1), "b");
        assert_eq!(
            batch.column(1).as_primitive::<Int64Type>().values(),
            &[12, 30]
        );
        assert_eq!(batch.column(2).as_primitive::<Float64Type>().value(1), 9.0);
        assert_eq!(batch.column(4).as_primitive::<Float64Type>().value(0), 1.5);
        let mean = batch.column(5).as_primitive::<Float64Type>();
        assert_eq!((mean.value(0), mean.iter().nth(1)), (1.5, Some(None)));
    }

    #[test]
    fn a_parquet_file_reads_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.parquet");
        parquet(&result(), &mut File::create(&path).unwrap()).unwrap();
        let file = File::open(&path).unwrap();
        let reader = ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file);
        let mut reader = reader.unwrap().build().unwrap();
        check(&reader.next().unwrap().unwrap());
        assert!(reader.next().is_none());
    }

    #[test]
    fn an_arrow_file_reads_back_as_it_was_with_what_was_suppressed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.arrow");
        arrow(&result(), &mut File::create(&path).unwrap()).unwrap();
        let file = File::open(&path).unwrap();
        let mut reader = arrow_ipc::reader::FileReader::try_new(file, None).unwrap();
        let schema = reader.schema();
        assert_eq!(schema.metadata()["suppressed_groups"], "[{\"band\":\"c\"}]");
        assert_eq!(schema.metadata()["homes_accepted"], "49");
        check(&reader.next().unwrap().unwrap());
    }

    #[test]
    fn values_of_several_types_and_large_integers_lose_nothing() {
        let texts = |values: &[&Value]| {
            let array = array(values);
            let texts = array.as_string::<i32>().iter();
            texts
                .map(|text| text.map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let mixed = [
            &Value::Boolean(true),
            &Value::Text("a".into()),
            &Value::Null,
        ];
        assert_eq!(texts(&mixed), [Some("true".into()), Some("a".into()), None]);
        let large = array(&[&Value::Integer(1 << 100)]);
        assert_eq!(
            large.as_primitive::<Float64Type>().value(0),
            (1u128 << 100) as f64
        );
        let flags = array(&[&Value::Boolean(true), &Value::Null]);
        assert!(flags.as_boolean().value(0) && flags.is_null(1));
    }
}
