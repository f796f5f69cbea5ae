//! Commands on a whole table: `status`, `recover`, `gc`.

use std::{collections::BTreeMap, io::Write as _, path::Path};

use curate_store::{GcOptions, Query, Store, live_leases};

use super::query::print_table;
use crate::Exit;

/// Units that `status` names; all of them are in the table `units`.
const BAD_UNITS: usize = 20;

pub(crate) async fn status(out: &Path) -> anyhow::Result<Exit> {
    let store = Store::open(out).await?;
    let ledger = store.ledger().await?;
    let mut units: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &ledger {
        *units.entry(&entry.status).or_default() += 1;
    }
    let leases = live_leases(out)?;
    let query = Query::open(&store, None).await?;
    let sql = "select status, drop_stage, coalesce(drop_reason, error_kind) as reason, count(*) as clips, \
               round(sum(end_s - start_s), 1) as seconds from clips group by 1, 2, 3 order by 1 desc, 4 desc";
    {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "units: {}", ledger.len())?;
        for (status, count) in units {
            writeln!(stdout, "  {count} {status}")?;
        }
        for lease in leases {
            writeln!(
                stdout,
                "run {} is working on it (process {} on {})",
                lease.run, lease.pid, lease.host
            )?;
        }
    }
    print_table(query.sql(sql).await?).await?;
    let bad = ledger.iter().filter(|entry| !matches!(entry.status.as_str(), "ok" | "empty"));
    let bad = bad.count();
    if bad > 0 {
        writeln!(
            std::io::stdout(),
            "units that are not whole ({bad}; at most {BAD_UNITS} shown):"
        )?;
        let sql = format!(
            "select status, error_kind, source_uri, error_message from units \
             where status not in ('ok', 'empty') order by 1, 2, 3 limit {BAD_UNITS}"
        );
        print_table(query.sql(&sql).await?).await?;
    }
    Ok(Exit::Complete)
}

pub(crate) async fn recover(out: &Path) -> anyhow::Result<Exit> {
    let recovered = Store::open(out).await?.recover(None).await?;
    crate::progress::say(&format!(
        "{} receipts committed, {} ledger rows written, {} receipts dropped",
        recovered.committed, recovered.recorded, recovered.dropped
    ));
    Ok(Exit::Complete)
}

pub(crate) async fn gc(out: &Path) -> anyhow::Result<Exit> {
    let report = Store::open(out).await?.gc(&GcOptions::default()).await?;
    crate::progress::say(&format!(
        "deleted {} versions and {} files, {} bytes given back",
        report.versions, report.files, report.bytes
    ));
    Ok(Exit::Complete)
}
