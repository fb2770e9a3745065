/*
 * The end of a failed assertion. Stateless; callable from any thread; never returns.
 */
#include "core/base.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void ps_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "level=fatal event=assert condition=\"%s\" file=%s line=%d\n", condition, file,
            line);
    abort();
}
