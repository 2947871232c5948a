"""The SQL functions a model's statement may call. What is not listed here is refused.

Left out on purpose: `load_extension` and `fts3_tokenizer` (run foreign code), `sqlite_log` (writes
to the host's log), `rtreecheck` and the like (look past the authorizer), `total_changes` (tells
what others did on the same connection), and the programs' own `readfile`, `writefile`, `edit`.
"""

_CORE = """
abs changes char coalesce concat concat_ws format glob hex if ifnull iif instr last_insert_rowid
length like likelihood likely lower ltrim max min nullif octet_length printf quote random
randomblob replace round rtrim sign soundex sqlite_source_id sqlite_version substr substring trim
typeof unhex unicode unistr unlikely upper zeroblob
"""
_AGGREGATE = """
avg count cume_dist dense_rank first_value group_concat lag last_value lead median nth_value ntile
percent_rank percentile percentile_cont percentile_disc rank row_number string_agg sum total
"""
_TIME = """
current_date current_time current_timestamp date datetime julianday strftime time timediff
unixepoch
"""
_MATH = """
acos acosh asin asinh atan atan2 atanh ceil ceiling cos cosh degrees exp floor ln log log10 log2
mod pi pow power radians sin sinh sqrt tan tanh trunc
"""
_JSON = """
-> ->> json json_array json_array_insert json_array_length json_error_position json_extract
json_group_array json_group_object json_insert json_object json_patch json_pretty json_quote
json_remove json_replace json_set json_type json_valid jsonb jsonb_array jsonb_array_insert
jsonb_extract jsonb_group_array jsonb_group_object jsonb_insert jsonb_object jsonb_patch
jsonb_remove jsonb_replace jsonb_set
"""
_SEARCH = "bm25 highlight match matchinfo offsets snippet"

TIME_FUNCTIONS = frozenset(_TIME.split())
FUNCTIONS = frozenset(" ".join((_CORE, _AGGREGATE, _TIME, _MATH, _JSON, _SEARCH)).split())
VOLATILE = frozenset({"random", "randomblob", "changes", "last_insert_rowid"})
"""Give another value each time they are called."""

TABLE_FUNCTIONS = frozenset({"json_each", "json_tree"})
"""Virtual tables that are there without being created, and that show nothing but their argument."""

OWNER_MODULES = frozenset({"fts5", "rtree", "rtree_i32"})
OWNER_FUNCTIONS = (
    "sqlite_rename_column",
    "sqlite_rename_quotefix",
    "sqlite_rename_table",
    "sqlite_rename_test",
    "sqlite_rename_parent",
    "sqlite_drop_column",
    "sqlite_fail",
)
"""What ALTER TABLE runs inside; SQLite does not let a statement name them."""

OWNER_PRAGMAS = frozenset(
    {
        "application_id",
        "collation_list",
        "data_version",
        "encoding",
        "foreign_key_check",
        "foreign_key_list",
        "freelist_count",
        "function_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "page_count",
        "page_size",
        "quick_check",
        "schema_version",
        "table_info",
        "table_list",
        "table_xinfo",
        "user_version",
    }
)
PRAGMAS_WITH_ARGUMENT = frozenset(
    {
        "application_id",
        "foreign_key_check",
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "integrity_check",
        "quick_check",
        "table_info",
        "table_list",
        "table_xinfo",
        "user_version",
    }
)
"""Where an argument asks about something, or is the owner's to set; elsewhere it is refused."""
