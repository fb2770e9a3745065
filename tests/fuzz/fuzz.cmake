# Fuzz targets: tests/fuzz/<target>.c, seeds in tests/fuzz/corpus/<target>/, found crashes in
# tests/fuzz/crashes/<target>/. In every preset a program with a plain main replays both folders (label fuzz); in the
# preset fuzz there is a libFuzzer program build/fuzz/fuzz-<target> besides, and with --long ctest runs each for a minute.
set(fuzz ${CMAKE_CURRENT_LIST_DIR})
set(fuzz_seconds 60)

# Functions of the system or of another module that a target defines in its own way, as __wrap_<name>.
set(fuzz_wraps_address getaddrinfo)
set(fuzz_wraps_session_record interest_drop)

# Targets that run on the simulated ring.
set(fuzz_simulated connection segment)

# Targets that see private headers, by their bare names, and whose.
set(fuzz_private_segment broker_client/embedded)

function(penstock_fuzz_program name target)
    add_executable(${name} ${fuzz}/${target}.c ${ARGN})
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
    if(target IN_LIST fuzz_simulated)
        target_link_libraries(${name} PRIVATE sim_ring)
    endif()
    target_link_libraries(${name} PRIVATE session broker_client net core penstock_options)
    if(fuzz_private_${target})
        target_compile_options(${name} PRIVATE "SHELL:-iquote ${CMAKE_SOURCE_DIR}/${fuzz_private_${target}}")
    endif()
    foreach(wrap ${fuzz_wraps_${target}})
        target_link_options(${name} PRIVATE LINKER:--wrap=${wrap})
    endforeach()
endfunction()

file(GLOB sources CONFIGURE_DEPENDS ${fuzz}/*.c)
foreach(source ${sources})
    get_filename_component(target ${source} NAME_WE)
    penstock_fuzz_program(fuzz.${target} ${target} ${CMAKE_SOURCE_DIR}/tests/support/fuzz_replay.c)
    set_target_properties(fuzz.${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME fuzz.${target} COMMAND fuzz.${target} ${fuzz}/corpus/${target} ${fuzz}/crashes/${target})
    set_tests_properties(fuzz.${target} PROPERTIES LABELS fuzz TIMEOUT 60)
    if(PENSTOCK_FUZZ)
        penstock_fuzz_program(fuzz-${target} ${target})
        target_link_options(fuzz-${target} PRIVATE -fsanitize=fuzzer)
    endif()
    if(PENSTOCK_FUZZ AND PENSTOCK_TEST_LONG)
        # What is found goes into the build folder; the seeds are read only.
        set(found ${CMAKE_BINARY_DIR}/found/${target})
        file(MAKE_DIRECTORY ${found}/corpus ${found}/crashes)
        add_test(NAME fuzz.${target}.long COMMAND fuzz-${target} -max_total_time=${fuzz_seconds} -timeout=20
            -rss_limit_mb=2048 -artifact_prefix=${found}/crashes/ ${found}/corpus ${fuzz}/corpus/${target})
        math(EXPR limit "${fuzz_seconds} * 3")
        set_tests_properties(fuzz.${target}.long PROPERTIES LABELS fuzz TIMEOUT ${limit})
    endif()
endforeach()
