"""The functions and types a statement may name: they compute, and touch nothing but their arguments.

A list of what is allowed, because what is not known must not run: PostgreSQL has functions that write, read files, send
messages, change settings or run the text they are given, and an extension may add more. Names are those of PostgreSQL
14 to 18 (documentation, chapter 9 and sections 8.1 to 8.21), all in `pg_catalog`.
"""

from typing import Final

_AGGREGATES: Final = """
any_value array_agg avg bit_and bit_or bit_xor bool_and bool_or corr count covar_pop covar_samp every json_agg
json_object_agg jsonb_agg jsonb_object_agg max min mode percentile_cont percentile_disc range_agg range_intersect_agg
regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy stddev stddev_pop
stddev_samp string_agg sum var_pop var_samp variance
"""

_WINDOWS: Final = """
cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number
"""

_NUMBERS: Final = """
abs acos acosd asin asind atan atan2 atan2d atand cbrt ceil ceiling cos cosd cosh cot degrees div exp factorial floor
gcd lcm ln log log10 mod numeric_inc pi power radians random round scale sign sin sind sinh sqrt tan tand tanh
trim_scale trunc width_bucket
"""

_TEXT: Final = """
ascii bit_length btrim char_length character_length chr concat concat_ws convert_from decode encode format initcap
left length lower lpad ltrim md5 normalize octet_length overlay position regexp_count regexp_instr regexp_like
regexp_match regexp_replace regexp_split_to_array regexp_substr repeat replace reverse right rpad rtrim sha224 sha256
sha384 sha512 similar_to_escape split_part starts_with string_to_array strpos substr substring to_hex translate trim
unistr upper
"""

_TIMES: Final = """
age clock_timestamp date date_bin date_part date_trunc extract isfinite justify_days justify_hours justify_interval
make_date make_interval make_time make_timestamp make_timestamptz now statement_timestamp timezone to_char to_date
to_number to_timestamp transaction_timestamp
"""

_JSON_AND_ARRAYS: Final = """
array_append array_cat array_dims array_length array_lower array_ndims array_position array_positions array_prepend
array_remove array_replace array_to_json array_to_string array_upper cardinality json_array_length json_build_array
json_build_object json_extract_path json_extract_path_text json_object json_strip_nulls json_typeof jsonb_array_length
jsonb_build_array jsonb_build_object jsonb_extract_path jsonb_extract_path_text jsonb_object jsonb_path_exists
jsonb_path_match jsonb_path_query_array jsonb_path_query_first jsonb_pretty jsonb_set jsonb_strip_nulls jsonb_typeof
row_to_json to_json to_jsonb trim_array
"""

_SETS: Final = """
generate_series generate_subscripts json_array_elements json_array_elements_text json_each json_each_text
json_object_keys jsonb_array_elements jsonb_array_elements_text jsonb_each jsonb_each_text jsonb_object_keys
jsonb_path_query regexp_matches regexp_split_to_table string_to_table unnest
"""

_RANGES_AND_REST: Final = """
daterange host int4range int8range isempty lower_inc lower_inf masklen netmask network numnonnulls numnulls numrange
range_merge tsrange tstzrange upper_inc upper_inf
"""

FUNCTIONS: Final = frozenset(
    " ".join((_AGGREGATES, _WINDOWS, _NUMBERS, _TEXT, _TIMES, _JSON_AND_ARRAYS, _SETS, _RANGES_AND_REST)).split()
)

# Internal names are what the grammar makes of SQL's own spellings: `integer` is int4, `timestamp with time zone`
# timestamptz. The `reg…` types are missing on purpose: a cast to one looks into the catalogue.
_TYPES: Final = """
bit bool bpchar bytea char cidr date daterange float4 float8 inet int2 int4 int4range int8 int8range interval json
jsonb jsonpath macaddr money numeric numrange text time timestamp timestamptz timetz tsrange tstzrange uuid varbit
varchar
"""
TYPES: Final = frozenset(_TYPES.split())
