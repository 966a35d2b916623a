# Included by patches.cmake: puts attention.inc into the CPU kernels.

begin_patch(ops.cpp 21987cb36a4a9ef4d0fe1101bd2c42a67c7e9dd0d89e49e2137ede1779ea5759)

# Their function for tiles goes, ours comes before all that calls it.
set(one_chunk "static void ggml_compute_forward_flash_attn_ext_f16_one_chunk(")
string(FIND "${text}" "static void ggml_compute_forward_flash_attn_ext_tiled(" begin)
string(FIND "${text}" "// Reduction function: combines partial results across KV chunks" end)
math(EXPR length "${end} - ${begin}")
string(SUBSTRING "${text}" ${begin} ${length} tiled)
replace("${tiled}" "")
replace("${one_chunk}" "#include \"${CMAKE_CURRENT_LIST_DIR}/attention.inc\"\n\n${one_chunk}")

# Row by row: cells of others are passed over many at a time.
replace(
"            if (mv == -INFINITY) {
                continue;"
"            if (mv == -INFINITY) {
                ic = ggml_fa_next_seen(mp, ic + 1, ic_end) - 1;
                continue;")

# Tiles pay for smaller steps than theirs, and their parts do not cross heads that share keys.
replace("neq1 >= Q_TILE_SZ);" "ggml_fa_for_tiles(dst, nth));")
replace("static constexpr int64_t Q_TILE_SZ  = ggml_fa_tile_config::Q;\n        bool use_tiled" "bool use_tiled")
replace("!use_ref && (neq1 == 1 && neq3 == 1)" "!use_ref && (neq1 == 1 && neq3 == 1) && !ggml_fa_for_tiles(dst, nth)")
replace(
"        int current_chunk = ith;

        while (current_chunk < nchunk) {
            const int64_t ir0 = dr * current_chunk;
            const int64_t ir1 = MIN(ir0 + dr, nr);
"
"        const ggml_fa_parts parts(dst, nth);
        if (use_tiled) {
            nchunk = parts.count();
        }

        int current_chunk = ith;

        while (current_chunk < nchunk) {
            const int64_t ir0 = use_tiled ? parts.begin(current_chunk) : dr * current_chunk;
            const int64_t ir1 = use_tiled ? parts.end(current_chunk) : MIN(ir0 + dr, nr);
")

end_patch()
