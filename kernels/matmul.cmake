# Included by patches.cmake: puts matmul.inc into the CPU kernels. tiled.cpp asks it before its own
# functions, and so does ggml-cpu.c for mixtures of experts; repack.cpp asks it for Q4_0, which llama.cpp
# arranges anew when it loads a model. K types stay as they lie in the file; for AMX no type of ours is arranged.

set(prototypes "size_t ggml_mm_work_size(int threads, const struct ggml_tensor * dst, bool arranged);
bool ggml_mm_compute(const struct ggml_compute_params * params, struct ggml_tensor * dst, bool arranged);
bool ggml_mm_likes_as_in_the_file(enum ggml_type type);
bool ggml_mm_multiplies(enum ggml_type type);
")
set(declarations "extern \"C\" {
${prototypes}}
")

begin_patch(tiled/tiled.cpp a5d92ce8f617696778e225de6658180649143fec3792c5cfef84170641f2d06e)
replace("#define UNUSED GGML_UNUSED\n" "#define UNUSED GGML_UNUSED\n\n${declarations}#include \"${CMAKE_CURRENT_LIST_DIR}/matmul.inc\"\n")
replace(
"    if (! ggml_tiled_supported(dst->src[0], dst->src[1])) {
        return 0; // unsupported"
"    if (const size_t ours = ggml_mm_work_size(n_tasks, dst, false)) {
        return ours;
    }
    if (! ggml_tiled_supported(dst->src[0], dst->src[1])) {
        return 0; // unsupported")
replace(
"    // --use-ref means"
"    if (ggml_mm_compute(params, dst, false)) {
        return true;
    }
    // --use-ref means")
end_patch()

begin_patch(repack.cpp 0d604f463513bc796ffd7031f770c1706300990c0a8670a0e9000949667155c3)
replace("#include \"repack.h\"\n" "#include \"repack.h\"\n\n#include <algorithm>\n#include <type_traits>\n\n${declarations}")
replace("    bool work_size(int /* n_threads */, const" "    // Of these matmul.inc knows the arrangement.
    static constexpr bool arrangement_is_known = std::is_same_v<BLOC_TYPE, block_q4_0> && INTER_SIZE == 8 && NB_COLS == 8;

    bool work_size(int n_threads, const")
replace(
"                    size = ggml_row_size(PARAM_TYPE, ggml_nelements(op->src[1]));
                    return true;"
"                    size = ggml_row_size(PARAM_TYPE, ggml_nelements(op->src[1]));
                    size = std::max(size, arrangement_is_known ? ggml_mm_work_size(n_threads, op, true) : 0);
                    return true;")
replace(
"                    size += sizeof_mmid_row_mapping*ne02*(ne12 + 1);
"
"                    size += sizeof_mmid_row_mapping*ne02*(ne12 + 1);
                    size = std::max(size, arrangement_is_known ? ggml_mm_work_size(n_threads, op, true) : 0);
")
replace(
"            case GGML_OP_MUL_MAT:
                forward_mul_mat(params, op);
                return true;"
"            case GGML_OP_MUL_MAT:
                if (!arrangement_is_known || !ggml_mm_compute(params, op, true)) {
                    forward_mul_mat(params, op);
                }
                return true;")
replace(
"                forward_mul_mat_id(params, op);
                return true;"
"                if (!arrangement_is_known || !ggml_mm_compute(params, op, true)) {
                    forward_mul_mat_id(params, op);
                }
                return true;")
replace(
"    if (cur->type == GGML_TYPE_Q4_0) {
        if (ggml_cpu_has_avx2()"
"    if (ggml_mm_likes_as_in_the_file(cur->type)) {
        return nullptr;
    }
    if (cur->type == GGML_TYPE_Q4_0) {
        if (ggml_cpu_has_avx2()")
end_patch()

begin_patch(amx/amx.cpp 636d1e4b858a86ad6568100bbdb4bf9715d9dfb25d3831415d55e04e39acad86)
replace("#include \"traits.h\"\n" "#include \"traits.h\"\n\n${declarations}")
replace(
"        if (op->ne[0] % (TILE_N * 2)) {"
"        if (ggml_mm_multiplies(src0->type)) {
            return false;
        }
        if (op->ne[0] % (TILE_N * 2)) {")
end_patch()

begin_patch(ggml-cpu.c 94e4c599aa8e6a0e047b1e4a40830cd5b54a5e0bc773acaccd3be2d4702caf39)
replace("#include \"tiled/tiled.h\"\n" "#include \"tiled/tiled.h\"\n\n${prototypes}")
replace(
"                ggml_compute_forward_mul_mat_id(params, tensor);"
"                if (!ggml_mm_compute(params, tensor, false)) {
                    ggml_compute_forward_mul_mat_id(params, tensor);
                }")
end_patch()
