//! The vocabulary in which a table is described: typed column handles, their kinds and cells.
//!
//! A [`Column<T>`] is a constant that carries its Rust type, so reading a column gives that type
//! and a misspelt name does not compile. [`ColumnSpec`] is what a person or Arrow needs to know.

use std::marker::PhantomData;

use arrow::datatypes::{DataType, Field, TimeUnit};

/// How a column is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text.
    Utf8,
    /// True or false.
    Bool,
    /// 32-bit signed integer.
    I32,
    /// 64-bit signed integer.
    I64,
    /// 64-bit unsigned integer (bit patterns such as perceptual hashes).
    U64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// Bytes read together with the row (thumbnails).
    Binary,
    /// Bytes kept beside the row and read on request (the clip itself); the store turns this into
    /// a Lance blob column.
    Blob,
    /// Bytes in a data file of their own that only those who ask for them read (what trainers cache).
    /// Unlike a blob's they can be replaced alone; SQL does not see them.
    Large,
    /// A list of words.
    Utf8List,
    /// A vector of this many 32-bit floats.
    Vector(i32),
    /// Microseconds since the Unix epoch, UTC.
    Timestamp,
}

impl Kind {
    /// The Arrow type in which rows travel. A blob travels as `LargeBinary`.
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::Utf8 => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::I32 => DataType::Int32,
            Self::I64 => DataType::Int64,
            Self::U64 => DataType::UInt64,
            Self::F32 => DataType::Float32,
            Self::F64 => DataType::Float64,
            Self::Binary => DataType::Binary,
            Self::Blob | Self::Large => DataType::LargeBinary,
            Self::Utf8List => DataType::List(Field::new("item", DataType::Utf8, true).into()),
            Self::Vector(len) => {
                DataType::FixedSizeList(Field::new("item", DataType::Float32, true).into(), len)
            }
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// One cell of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// See [`Kind::Utf8`].
    Utf8(String),
    /// See [`Kind::Bool`].
    Bool(bool),
    /// See [`Kind::I32`].
    I32(i32),
    /// See [`Kind::I64`].
    I64(i64),
    /// See [`Kind::U64`].
    U64(u64),
    /// See [`Kind::F32`].
    F32(f32),
    /// See [`Kind::F64`].
    F64(f64),
    /// See [`Kind::Binary`], [`Kind::Blob`] and [`Kind::Large`].
    Bytes(Vec<u8>),
    /// See [`Kind::Utf8List`].
    Utf8List(Vec<String>),
    /// See [`Kind::Vector`].
    Vector(Vec<f32>),
    /// See [`Kind::Timestamp`].
    Timestamp(Micros),
}

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub i64);

/// A Rust type that can be a cell.
pub trait Cell: Sized {
    /// Wraps the value.
    fn into_value(self) -> Value;
    /// The value inside, when it is of this type.
    fn from_value(value: &Value) -> Option<&Self>;
}

macro_rules! cells {
    ($($ty:ty => $variant:ident),* $(,)?) => {$(
        impl Cell for $ty {
            fn into_value(self) -> Value { Value::$variant(self) }
            fn from_value(value: &Value) -> Option<&Self> {
                match value { Value::$variant(inner) => Some(inner), _ => None }
            }
        }
    )*};
}
cells! {
    String => Utf8, bool => Bool, i32 => I32, i64 => I64, u64 => U64, f32 => F32, f64 => F64,
    Vec<u8> => Bytes, Vec<String> => Utf8List, Vec<f32> => Vector, Micros => Timestamp,
}

/// A typed handle on one column of one table: its position and the Rust type of its cells.
pub struct Column<T> {
    pub(crate) index: usize,
    spec: &'static ColumnSpec,
    ty: PhantomData<fn() -> T>,
}

impl<T> Clone for Column<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Column<T> {}

impl<T> Column<T> {
    pub(crate) const fn new(index: usize, spec: &'static ColumnSpec) -> Self {
        Self { index, spec, ty: PhantomData }
    }

    /// The column's name in the table.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.spec.name
    }
}

/// Everything that is said about a column.
#[derive(Debug)]
pub struct ColumnSpec {
    /// Name in the table: public API.
    pub name: &'static str,
    /// How it is stored.
    pub kind: Kind,
    /// Whether every row must have a value.
    pub required: bool,
    /// What the value means.
    pub doc: &'static str,
    /// Its unit, or empty.
    pub unit: &'static str,
    /// The stage (or part of the engine) that writes it: exactly one.
    pub writer: &'static str,
    /// The schema version in which it first appeared.
    pub since: u32,
}

impl ColumnSpec {
    /// The column as an Arrow field.
    #[must_use]
    pub fn field(&self) -> Field {
        Field::new(self.name, self.kind.data_type(), !self.required)
    }
}

/// A table: its name and its columns in order.
#[derive(Debug)]
pub struct Table {
    /// Name under which SQL knows it.
    pub name: &'static str,
    /// What one row is.
    pub doc: &'static str,
    /// The columns, in storage order.
    pub columns: &'static [&'static ColumnSpec],
}

impl Table {
    /// Position of the column called `name`.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|spec| spec.name == name)
    }

    /// The table as an Arrow schema.
    #[must_use]
    pub fn arrow_schema(&self) -> arrow::datatypes::SchemaRef {
        let fields: Vec<Field> = self.columns.iter().map(|spec| spec.field()).collect();
        arrow::datatypes::Schema::new(fields).into()
    }
}

/// Declares a table: one constant per column and the list of them all, from one definition.
macro_rules! table {
    (
        $(#[doc = $table_doc:literal])*
        $table:ident = $table_name:literal;
        $(
            $(#[doc = $doc:literal])*
            $(#[required $required:tt])?
            $name:ident: $ty:ty = $text:literal, $kind:expr, unit $unit:literal, by $writer:literal, since $since:literal;
        )*
    ) => {
        #[expect(non_camel_case_types, clippy::upper_case_acronyms, reason = "only counts the columns")]
        #[derive(Clone, Copy)]
        enum Position { $($name),* }
        mod spec {
            use super::*;
            $(pub(super) static $name: $crate::column::ColumnSpec = $crate::column::ColumnSpec {
                name: $text,
                kind: $kind,
                required: false $(|| table!(@true $required))?,
                doc: concat!($($doc),*),
                unit: $unit,
                writer: $writer,
                since: $since,
            };)*
        }
        $(
            $(#[doc = $doc])*
            pub const $name: $crate::column::Column<$ty> =
                $crate::column::Column::new(Position::$name as usize, &spec::$name);
        )*
        $(#[doc = $table_doc])*
        pub static $table: $crate::column::Table = $crate::column::Table {
            name: $table_name,
            doc: concat!($($table_doc),*),
            columns: &[$(&spec::$name),*],
        };
    };
    (@true $t:tt) => { true };
}
pub(crate) use table;
