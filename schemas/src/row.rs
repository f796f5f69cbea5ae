//! One row of a table, addressed by typed columns.

use crate::{Cell, Column, Table, Value, columns::CLIPS, units::UNITS};

/// The cells of one row of some table, in the table's column order.
#[derive(Clone, Debug)]
pub struct Row {
    table: &'static Table,
    cells: Vec<Option<Value>>,
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.table, other.table) && self.cells == other.cells
    }
}

impl Row {
    /// An empty row.
    #[must_use]
    pub fn new(table: &'static Table) -> Self {
        Self { table, cells: vec![None; table.columns.len()] }
    }

    /// The table this row belongs to.
    #[must_use]
    pub fn table(&self) -> &'static Table {
        self.table
    }

    /// The cell at a position, whatever its type.
    #[must_use]
    pub fn cell(&self, position: usize) -> Option<&Value> {
        self.cells.get(position)?.as_ref()
    }

    /// Sets the cell at a position. The caller answers for the type.
    pub(crate) fn set_cell(&mut self, position: usize, value: Option<Value>) {
        self.cells[position] = value;
    }

    /// The cell under a column's name, or `None` when it is null or there is no such column.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Value> {
        self.cell(self.table.position(name)?)
    }

    /// Names of the columns that have a value.
    pub fn written(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.table
            .columns
            .iter()
            .zip(&self.cells)
            .filter_map(|(spec, cell)| cell.as_ref().map(|_| spec.name))
    }
}

macro_rules! row {
    ($(#[$meta:meta])* $name:ident, $table:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name(Row);

        impl Default for $name {
            fn default() -> Self {
                Self(Row::new(&$table))
            }
        }

        impl $name {
            /// The value of a column, or `None` when it has not been written.
            #[must_use]
            pub fn get<T: Cell>(&self, column: Column<T>) -> Option<&T> {
                self.0.cell(column.index).and_then(T::from_value)
            }

            /// Writes a column.
            pub fn set<T: Cell>(&mut self, column: Column<T>, value: T) {
                self.0.set_cell(column.index, Some(value.into_value()));
            }

            /// Writes a column, or clears it.
            pub fn put<T: Cell>(&mut self, column: Column<T>, value: Option<T>) {
                self.0.set_cell(column.index, value.map(Cell::into_value));
            }

            /// Writes a column and returns the row, for building one in an expression.
            #[must_use]
            pub fn with<T: Cell>(mut self, column: Column<T>, value: T) -> Self {
                self.set(column, value);
                self
            }

            /// Takes a value out, leaving null.
            pub fn take<T: Cell + Clone>(&mut self, column: Column<T>) -> Option<T> {
                let value = self.get(column).cloned();
                self.0.set_cell(column.index, None);
                value
            }

            /// Clears a column, if the table has one of that name.
            pub fn clear(&mut self, name: &str) {
                if let Some(position) = self.0.table().position(name) {
                    self.0.set_cell(position, None);
                }
            }

            /// The untyped row.
            #[must_use]
            pub fn row(&self) -> &Row {
                &self.0
            }

            /// From an untyped row of the same table; `None` when it belongs to another.
            #[must_use]
            pub fn from_row(row: Row) -> Option<Self> {
                std::ptr::eq(row.table(), &$table).then_some(Self(row))
            }
        }
    };
}

row! {
    /// One clip: a row of the `clips` table.
    Clip, CLIPS
}
row! {
    /// One unit: a row of the `units` ledger.
    UnitRow, UNITS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns;

    #[test]
    fn a_column_gives_its_own_type() {
        let mut clip = Clip::default();
        assert_eq!(clip.get(columns::WIDTH), None);
        clip.set(columns::WIDTH, 640);
        assert_eq!(clip.get(columns::WIDTH), Some(&640));
        assert_eq!(clip.row().written().collect::<Vec<_>>(), ["width"]);
        assert_eq!(clip.take(columns::WIDTH), Some(640));
        assert_eq!(clip, Clip::default());
        clip.set(columns::WIDTH, 640);
        clip.clear("height");
        assert_eq!(clip.get(columns::WIDTH), Some(&640));
        clip.clear("width");
        assert_eq!(clip, Clip::default());
    }
}
