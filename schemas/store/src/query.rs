//! SQL over one snapshot of both tables.
//!
//! The tables are `clips` and `units`, as they were when the query began: a run may go on
//! committing. Only reading statements are accepted. In `clips` the column `video` is replaced by
//! `video_bytes`, its size: SQL over the bytes themselves would read the whole table's video for
//! one careless `select *`, and the descriptor that Lance gives instead (a struct of offsets)
//! means nothing to a reader. The bytes of one clip are [`Store::video`]. What trainers cached is left out
//! altogether; how it was made can be asked for.

use std::{pin::Pin, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use curate_schemas::{
    Kind,
    columns::{CLIPS, VIDEO},
    units::UNITS,
};
use datafusion::{
    error::DataFusionError,
    execution::{
        context::{SQLOptions, SessionContext},
        runtime_env::RuntimeEnvBuilder,
    },
    functions::core::expr_fn::get_field,
    physical_plan::SendableRecordBatchStream,
    prelude::{SessionConfig, ident, lit},
    scalar::ScalarValue,
    sql::sqlparser::{dialect::GenericDialect, parser::Parser, tokenizer::Token},
};
use futures::{Stream, StreamExt as _};
use lance::{Dataset, datafusion::LanceTableProvider, datatypes::BlobHandling};

use crate::{Pending, Result, Store, StoreError, schema};

/// Memory for sorts, joins and groups; what needs more goes to disk or fails, and never takes the
/// machine down.
const MEMORY_BYTES: usize = 1 << 30;

/// A snapshot of both tables that answers SQL.
pub struct Query {
    context: SessionContext,
    version: u64,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Query {
    /// Pins the clips at `version` (the newest when `None`) and the units at their newest.
    ///
    /// # Errors
    /// [`StoreError::NoVersion`] when there is no such version.
    pub fn open(store: &Store, version: Option<u64>) -> Pending<'_, Self> {
        Box::pin(async move {
            let clips = store.clips_at(version).await?;
            let version = clips.version_id();
            let units = store.latest_units().await?;
            let context =
                context(clips, units).map_err(|source| failed("(opening the tables)", source))?;
            Ok(Self { context, version })
        })
    }

    /// The version of the clips that is read.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Runs a statement and streams its rows.
    ///
    /// # Errors
    /// [`StoreError::Sql`] when the statement is wrong or does not only read.
    pub fn sql<'a>(&'a self, sql: &'a str) -> Pending<'a, Rows> {
        Box::pin(async move {
            let only_read = SQLOptions::new()
                .with_allow_ddl(false)
                .with_allow_dml(false)
                .with_allow_statements(false);
            let stream = async {
                self.context.sql_with_options(sql, only_read).await?.execute_stream().await
            };
            let stream = Box::pin(stream).await.map_err(|source| failed(sql, source))?;
            Ok(Rows { sql: sql.to_owned(), stream })
        })
    }
}

/// The rows that a query gives, batch by batch.
pub struct Rows {
    sql: String,
    stream: SendableRecordBatchStream,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("sql", &self.sql).finish_non_exhaustive()
    }
}

impl Rows {
    /// The columns of the answer.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// [`StoreError::Sql`] when the query fails while it runs.
    pub async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        self.next().await.transpose()
    }

    /// All batches. For answers that are known to be small.
    ///
    /// # Errors
    /// As [`Rows::next_batch`].
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next_batch().await? {
            batches.push(batch);
        }
        Ok(batches)
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let batch = self.stream.poll_next_unpin(cx);
        batch.map(|batch| batch.map(|batch| batch.map_err(|source| failed(&self.sql, source))))
    }
}

/// An SQL condition, if it is one to its last word: Lance reads as far as it understands and passes over
/// the rest, and then a typing error would let through what it should have kept out.
///
/// # Errors
/// [`StoreError::Sql`] when something follows the condition.
pub(crate) fn condition(filter: &str) -> Result<&str> {
    let Ok(mut parser) = Parser::new(&GenericDialect {}).try_with_sql(filter) else {
        return Ok(filter);
    };
    // What is no condition at all is Lance's to tell.
    let is_read = parser.parse_expr().is_ok();
    let rest = parser.peek_token().token;
    if !is_read || rest == Token::EOF {
        return Ok(filter);
    }
    let problem = format!("`{rest}` and what follows is no part of the condition");
    Err(failed(filter, DataFusionError::Plan(problem)))
}

fn failed(sql: &str, source: DataFusionError) -> StoreError {
    StoreError::Sql { sql: sql.to_owned(), source: Box::new(source) }
}

fn context(clips: Dataset, units: Dataset) -> std::result::Result<SessionContext, DataFusionError> {
    let runtime = RuntimeEnvBuilder::new().with_memory_limit(MEMORY_BYTES, 1.0).build_arc()?;
    let config = SessionConfig::new().with_information_schema(true);
    let context = SessionContext::new_with_config_rt(config, runtime);
    context.register_table(
        UNITS.name,
        Arc::new(LanceTableProvider::new(Arc::new(units), false, false)),
    )?;
    // A version from before a column was thought of: null, so that a query means the same everywhere.
    let names: Vec<&str> = CLIPS.columns.iter().map(|spec| spec.name).collect();
    let known = schema::known(&clips, &names);
    let clips = LanceTableProvider::new(Arc::new(clips), false, false)
        .with_blob_handling(BlobHandling::BlobsDescriptions);
    let columns = CLIPS.columns.iter().filter(|spec| spec.kind != Kind::Large).map(|spec| {
        if spec.name == VIDEO.name() {
            get_field(ident(spec.name), "size").alias("video_bytes")
        } else if known.contains(&spec.name) {
            ident(spec.name)
        } else {
            lit(ScalarValue::try_new_null(&spec.kind.data_type()).unwrap_or(ScalarValue::Null))
                .alias(spec.name)
        }
    });
    let view = context.read_table(Arc::new(clips))?.select(columns.collect::<Vec<_>>())?;
    context.register_table(CLIPS.name, view.into_view())?;
    Ok(context)
}

#[cfg(test)]
mod tests {
    use arrow::{array::AsArray as _, datatypes::Int64Type, util::pretty::pretty_format_batches};

    use super::*;
    use crate::testing::Table;

    async fn text(query: &Query, sql: &str) -> String {
        let batches = query.sql(sql).await.unwrap().collect().await.unwrap();
        pretty_format_batches(&batches).unwrap().to_string()
    }

    #[tokio::test]
    async fn a_snapshot_stays_while_commits_go_on() {
        let table = Table::new().await;
        table.add("a", &[0, 1]).await;
        let query = Query::open(&table.store, None).await.unwrap();
        let adding = async {
            for source in ["b", "c", "d"] {
                table.add(source, &[0, 1]).await;
            }
        };
        let asking = async {
            for _ in 0..5 {
                let batches = query.sql("select count(*) from clips").await.unwrap();
                let batches = batches.collect().await.unwrap();
                assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 6);
            }
        };
        futures::future::join(adding, asking).await;
        let newest = Query::open(&table.store, None).await.unwrap();
        assert!(text(&newest, "select count(*) from clips").await.contains("24"));
        let pinned = Query::open(&table.store, Some(query.version())).await.unwrap();
        assert!(text(&pinned, "select count(*) from clips").await.contains("| 6 "));
    }

    #[tokio::test]
    async fn everything_can_be_selected_and_bytes_become_their_size() {
        let table = Table::new().await;
        table.add_clips(table.full_clips()).await;
        let query = Query::open(&table.store, None).await.unwrap();
        let mut rows = query.sql("select * from clips order by start_pts").await.unwrap();
        let names: Vec<String> =
            rows.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert!(names.contains(&"video_bytes".to_owned()) && !names.contains(&"video".to_owned()));
        let large = CLIPS.columns.iter().filter(|spec| spec.kind == Kind::Large).count();
        assert_eq!(names.len(), CLIPS.columns.len() - large);
        let batch = rows.next_batch().await.unwrap().unwrap();
        assert_eq!(batch.num_columns(), names.len());
        let sizes = text(&query, "select video_bytes from clips order by start_pts").await;
        for size in ["| 0 ", "| 16384 ", "| 16385 ", "| 8388609 ", "|      "] {
            assert!(sizes.contains(size), "{size} in\n{sizes}");
        }
        let joined = "select status, drop_stage, count(*) from clips join units using (unit_id) \
                      where clips.clip_id is not null and video_bytes is not null group by 1, 2";
        let joined = joined.replace("status", "clips.status");
        assert!(text(&query, &joined).await.contains("| 3 "));
    }

    #[tokio::test]
    async fn only_reading_is_allowed() {
        let table = Table::new().await;
        let query = Query::open(&table.store, None).await.unwrap();
        for sql in ["delete from clips", "create table t as select 1", "set x = 1", "selec 1"] {
            let error = query.sql(sql).await.unwrap_err();
            assert!(error.to_string().contains(sql), "{error}");
        }
    }
}
